-- How late is each carrier, month by month? Delays are in minutes; cancelled flights have none.
SELECT
  date_trunc('month', f.flight_date)::DATE AS month,
  f.carrier,
  a.name AS carrier_name,
  count(*) AS flights,
  count(*) FILTER (f.cancelled) AS cancelled,
  avg(f.dep_delay) AS avg_dep_delay,
  avg(f.arr_delay) AS avg_arr_delay,
  avg(CASE WHEN f.arr_delay > 15 THEN 1.0 ELSE 0.0 END) FILTER (f.arr_delay IS NOT NULL) AS share_late
FROM staging.flights AS f
LEFT JOIN raw.airlines AS a ON a.carrier = f.carrier
GROUP BY ALL
