"""What every call to SageMaker shares: names, tags, images, machines, kinds of jobs, and how jobs are watched."""
