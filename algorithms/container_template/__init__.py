"""A training and serving container to copy: Keras 3 on class folders or RecordIO. README.md says how."""
