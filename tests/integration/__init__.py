"""Tests that run against real servers."""
