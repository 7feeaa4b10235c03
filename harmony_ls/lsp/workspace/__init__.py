"""The files of an editor as a port of `harmony_ls.workspace`: a change of files becomes one workspace edit."""
