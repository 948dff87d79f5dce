"""The custom resources: frozen typed models, their rules, conditions and reasons. Imports nothing but pydantic."""
