-- Incremental: only the flights that arrived since this script's last execution.
-- lakecat: {partition: [month(time_hour)]}
INSERT INTO staging.flights
SELECT
  make_date(f.year, f.month, f.day) AS flight_date,
  f.time_hour,
  f.carrier,
  f.flight,
  f.tailnum,
  f.origin,
  f.dest,
  f.dep_time IS NULL AS cancelled,
  f.dep_delay,
  f.arr_delay,
  f.air_time,
  f.distance
FROM table_changes('raw.flights') AS f
