"""Pages of studies, one a file of the study's name: `TITLE`, and `blocks`, which gives the page's
blocks in order."""
