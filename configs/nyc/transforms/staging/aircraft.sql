-- Written for Snowflake, and run as it is.
-- lakecat: {dialect: snowflake}
CREATE OR REPLACE TABLE staging.aircraft AS
SELECT
  tailnum,
  INITCAP(NVL(manufacturer, 'unknown')) AS manufacturer,
  model,
  seats::INT AS seats,
  IFF(year IS NULL, NULL, 2013 - year) AS age_years,
  DATEADD(year, 25, DATE_FROM_PARTS(year, 1, 1))::DATE AS end_of_service
FROM raw.planes
QUALIFY ROW_NUMBER() OVER (PARTITION BY tailnum ORDER BY year DESC NULLS LAST) = 1
