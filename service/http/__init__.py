"""What every request meets: `protocol` and `middleware` first, then `origins` and `security`.

`admission` lets so many work at once, `bodies` reads what is sent, `problems` are the errors as
clients see them, `documented` puts them into the OpenAPI document.
"""
