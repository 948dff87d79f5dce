"""Drivers: the only code that talks to the outside, one package per far side."""
