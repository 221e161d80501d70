"""SQL scripts that make warehouse tables: found, ordered, planned, run, recorded."""
