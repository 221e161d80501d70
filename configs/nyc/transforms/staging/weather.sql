-- A bare SELECT makes the table that its path names.
SELECT
  origin,
  time_hour,
  temp,
  wind_speed,
  precip,
  visib,
  CASE
    WHEN precip > 0 AND temp <= 32 THEN 'snow or ice'
    WHEN precip > 0 THEN 'rain'
    WHEN visib < 3 THEN 'poor sight'
    WHEN wind_speed >= 20 THEN 'strong wind'
    ELSE 'fair'
  END AS condition
FROM raw.weather
