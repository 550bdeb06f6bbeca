"""Configurations of trainings by name; nothing here runs."""
