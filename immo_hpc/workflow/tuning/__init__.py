"""Parts of the search flow: processes of one machine, and what is told of a study."""
