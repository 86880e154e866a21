"""The command lines: `arguments` reads them, `running` makes the figures, `checks` looks them over.

What a terminal shows is `console`; statuses of exit are `exit_status`. Nothing below prints.
"""
