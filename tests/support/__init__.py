"""Servers, processes and files that tests share."""
