"""Blind evaluation by people: pairs of videos, their answers, intervals and agreement."""
