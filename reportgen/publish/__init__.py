"""From files to a release: written to the disk, switched atomically, recorded."""
