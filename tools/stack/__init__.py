"""The local stack: private servers and the three services as child processes, without containers."""
