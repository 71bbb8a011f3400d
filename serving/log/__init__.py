"""The prediction log: durable predictions and their ground truth.

`prediction_log` is the facade that servers use; `group_commit` and `recovery` are its threads,
`writer` and `spool` what they write to. `existing` opens a log outside of servers. The tables are
in `database.schema`.
"""
