-- Which aircraft bring the most delay? Each run adds what arrived to what is known.
MERGE INTO warehouse.late_aircraft AS t
USING (
  SELECT
    f.tailnum,
    max(p.manufacturer) AS manufacturer,
    max(p.model) AS model,
    count(*) AS flights,
    coalesce(sum(f.arr_delay), 0) AS arr_delay_minutes,
    max(f.arr_delay) AS worst_arr_delay,
    max(f.flight_date) AS last_flight
  FROM table_changes('staging.flights') AS f
  LEFT JOIN staging.aircraft AS p ON p.tailnum = f.tailnum
  WHERE f.tailnum IS NOT NULL
  GROUP BY f.tailnum
) AS s
ON t.tailnum = s.tailnum
WHEN MATCHED THEN UPDATE SET
  manufacturer = coalesce(s.manufacturer, t.manufacturer),
  model = coalesce(s.model, t.model),
  flights = t.flights + s.flights,
  arr_delay_minutes = t.arr_delay_minutes + s.arr_delay_minutes,
  worst_arr_delay = greatest(t.worst_arr_delay, s.worst_arr_delay),
  last_flight = greatest(t.last_flight, s.last_flight)
WHEN NOT MATCHED THEN INSERT (tailnum, manufacturer, model, flights, arr_delay_minutes, worst_arr_delay, last_flight)
  VALUES (s.tailnum, s.manufacturer, s.model, s.flights, s.arr_delay_minutes, s.worst_arr_delay, s.last_flight)
