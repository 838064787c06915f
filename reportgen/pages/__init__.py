"""From figures and charts to the files of a release."""
