"""How the mesh and its clients fare: values come in, answers for people and programs go out."""
