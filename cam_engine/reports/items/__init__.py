"""What a report measures: a module a question, each a function from a Study to a Section."""
