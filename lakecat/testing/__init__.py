"""Conformance suites for authors; they need pytest (``lakecat[testing]``). See docs/writing-connectors.md."""

from lakecat.testing.connector_suite import ConnectorSuite

__all__ = ["ConnectorSuite"]
