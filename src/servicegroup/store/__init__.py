"""The record: SQL says who exists and when each last reported, on the database's own clock."""
