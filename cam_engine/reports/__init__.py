"""`gradcam report`: a document that says, criterion by criterion, whether an experiment's models
and their maps can be believed.

`crops` reads the experiment's crops, each measure answers with a Section of `criteria`, and the
documents (HTML, PDF, JSON, tables) are made of these.
"""
