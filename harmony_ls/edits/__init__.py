"""Patches as pure text: what a model writes becomes changes of files, or a message that lets it mend its patch.

`parse` reads a patch in any of its spellings, `plan` fits it to the texts of the files, `diff` shows the result.
Nothing here touches a file; `harmony_ls.workspace` does.
"""
