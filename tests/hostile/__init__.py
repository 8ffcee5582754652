"""Generators of hostile and damaged inputs, one module for each kind of input."""
