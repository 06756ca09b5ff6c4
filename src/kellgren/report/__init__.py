"""What grading leaves behind: tables, run records, pictures."""
