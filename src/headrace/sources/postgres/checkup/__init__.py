"""What `headrace doctor` and `headrace source drop` know about a PostgreSQL server.

`facts` are what can be read there, `read` reads them (the SQL is in `facts.sql`), and the pure modules `server`,
`slot`, `publication`, `table`, `fit` and `refusal` turn them into findings; `checkup` puts those together. `mend` runs
what is safe, `drop` takes away what was made there.
"""
