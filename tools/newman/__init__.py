"""The Postman collection in docs/, run from the command line by newman."""
