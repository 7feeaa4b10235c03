"""What a model does to a piece of code at a person's request: mend, improve, document, test.

`actions` is the table of what there is; an action is a row of it and a Markdown prompt. `listing` says what is offered
where, without looking at the text or the model. `writing` makes a checked edit of what was chosen: `region` finds the
lines, `question` is what the model is asked, `answer` reads what it says, `placing` and `imports` put that in place.
"""
