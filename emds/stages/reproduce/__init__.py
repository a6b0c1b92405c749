"""``emds reproduce``: every system of the paper's tables, trained, scored and compared.

`plan` lists the systems and their order, `workspace` knows where each has its files, `work`
trains and scores one, `claims` keeps several processes apart, `estimate` says how long the rest
takes, `results` collects, `tables` and `page` show. `command` is the function behind the command.
"""
