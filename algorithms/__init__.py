"""Code that runs inside users' jobs: each folder is sent to a container by itself."""
