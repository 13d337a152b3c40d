"""What people bring: inputs of public bug reports, drawn by code, and their siblings."""
