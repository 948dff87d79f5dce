"""Expressions in CEL, evaluated apart: what somebody wrote into a spec must not take our memory or our time."""

from homeport.drivers.cel.evaluate import ExpressionFailed, evaluate

__all__ = ["ExpressionFailed", "evaluate"]
