"""Reading recordings of other programs, a file a format; `roboscape import` writes them down."""
