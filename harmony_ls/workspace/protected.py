"""Which names of files and folders are kept from a model, or changed only after a person was asked each time.

One principle decides: who acts on a file, and does a person see it coming?

* Protected: a tool obeys the file by itself, as soon as its folder is opened, entered, or used with an everyday command
  (an editor, a shell hook, git, a debugger, an assistant's own permissions), and the file is no part of what the
  project is made of. It belongs to the person, who can change it by hand; a model never sees or touches it.
* Sensitive: the file belongs to the project, but what it says is run where nobody looks (on another machine, at the
  next commit, by the editor's linter, when packages are installed, when a shell starts) or is believed by the next
  assistant as the person's own word (``AGENTS.md``). A model may change it, and a person is asked each time, whatever
  was allowed in advance, since one such change outlives the conversation in which a stranger's text may have asked
  for it.
* Everything else is ordinary, programs and build descriptions included (``Makefile``, ``package.json``, ``build.rs``,
  ``conftest.py``): they are run by a person's own command for just that purpose, and changing them is the work itself.

Names are compared at any depth and regardless of case. Which file a path names is the gate's business.
"""

__all__ = ["PROTECTED", "SENSITIVE"]

PROTECTED = (
    # version control
    ".git", "git~[0-9]", ".gitconfig", ".config/git/**", ".hg", ".svn", ".jj",
    # editors and what they start
    ".vscode", ".vscode-*", ".vs", ".idea", ".fleet", ".zed", ".cursor", ".windsurf", "*.code-workspace",
    "*.sublime-project", "*.sublime-workspace", ".dir-locals.el", ".dir-locals-2.el", ".helix", ".kak", ".kakrc",
    ".nvim.lua", ".nvimrc", ".exrc", ".vimrc", ".gvimrc", ".lvimrc", ".vim", ".nvim", ".ycm_extra_conf.py",
    # shell hooks, environments and debuggers
    ".envrc", ".direnv", ".mise.toml", "mise.toml", ".mise", ".config/mise/**", ".config/mise.toml", ".devcontainer",
    ".devcontainer.json", ".gdbinit", ".gdbearlyinit", ".lldbinit", ".pdbrc", ".cargo",
    # assistants: what they may do, and what they start; this one's own settings first
    ".harmony*", "harmony-ls/config.toml", ".claude", ".codex", ".agents", ".gemini", ".continue", ".aider*",
    ".mcp.json", ".clinerules/hooks/**", ".roo/mcp.json",
)  # fmt: skip
"""Never read, changed, created or moved for a model, in any folder."""

SENSITIVE = (
    # what another machine or the next commit runs
    ".github", ".gitlab-ci.yml", ".gitlab", ".circleci", ".buildkite", ".ci", ".travis.yml", "azure-pipelines*.yml",
    "bitbucket-pipelines.yml", "Jenkinsfile", ".drone.yml", ".woodpecker*", ".forgejo", ".gitea", ".cirrus.*",
    "appveyor.yml", ".appveyor.yml", ".tekton", ".semaphore", ".husky", ".githooks", ".pre-commit-config.yaml",
    ".pre-commit-hooks.yaml", "lefthook*.yml", ".lefthook*", ".gitmodules", ".gitattributes",
    # what linters, package managers and interpreters load beside the code that they are meant for
    ".eslintrc*", "eslint.config.*", ".prettierrc*", "prettier.config.*", ".stylelintrc*", "stylelint.config.*",
    ".pylintrc", "pylintrc", ".luarc.json*", ".yarnrc*", ".yarn", ".pnpmfile.*", "bunfig.toml", ".mvn",
    "gradle/wrapper/**", ".bazelrc", "rust-toolchain", "rust-toolchain.toml", "sitecustomize.py", "usercustomize.py",
    "*.pth", "shell.nix",
    # what a shell, a terminal or a desktop starts
    ".bashrc", ".bash_*", ".profile", ".zshrc", ".zshenv", ".zprofile", ".zlogin", ".zlogout", ".kshrc", ".cshrc",
    ".tcshrc", ".inputrc", ".tmux.conf", ".screenrc", ".config/**", "Library/LaunchAgents/**",
    # what the next assistant believes
    "AGENTS.md", "AGENTS.override.md", "CLAUDE.md", "CLAUDE.local.md", "GEMINI.md", ".cursorrules", ".windsurfrules",
    ".clinerules", ".roo", ".roorules*", ".goosehints", ".junie",
)  # fmt: skip
"""Changed only after a person was asked each time."""
