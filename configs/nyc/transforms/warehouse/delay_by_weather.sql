-- How much does the weather at the airport matter? Written for Snowflake, and run as it is.
-- lakecat: {dialect: snowflake}
CREATE OR REPLACE TABLE warehouse.delay_by_weather AS
WITH observed AS (
  SELECT
    f.origin,
    IFF(w.condition IS NULL, 'not observed', w.condition) AS condition,
    f.dep_delay,
    f.cancelled,
    DATEDIFF(day, DATE_TRUNC('month', f.flight_date), f.flight_date) + 1 AS day_of_month
  FROM staging.flights AS f
  LEFT JOIN staging.weather AS w ON w.origin = f.origin AND w.time_hour = f.time_hour
)
SELECT
  condition,
  origin,
  COUNT(*) AS flights,
  SUM(IFF(cancelled, 1, 0))::INT AS cancelled,
  AVG(dep_delay) AS avg_dep_delay,
  COUNT_IF(NVL(dep_delay, 0) > 60)::INT AS over_an_hour,
  MAX(day_of_month) AS last_day
FROM observed
GROUP BY condition, origin
