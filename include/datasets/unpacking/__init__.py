"""Archives and record files, streamed into objects that a version is built from."""
