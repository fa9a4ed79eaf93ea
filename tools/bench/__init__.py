"""The closed-loop benchmark: how many orders a second the whole system takes, and what each costs."""
