"""The command lines: `arguments` reads them, `running` makes the figures, `checks` looks them over.

`written_figures` sees what stands in a folder, and `findings` keep what is missing or damaged.
What a terminal shows is `console`; statuses of exit are `exit_status`. Nothing below prints.
"""
