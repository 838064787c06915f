"""Render figures and charts as the files of a release."""
