"""The console: the pages on which people see, make and revoke their tokens, and administrators run the service.

Static files, sent as they are but for the comments of modules: HTML, style sheets, ES modules. `files.py` finds them and says
how each is sent; it knows no HTTP framework, no store and no person. All that a page shows it asks for at /v1, as any other
program may.

Reading order: `files` (Python), `page.html` (what all documents are made of), `index.html` (the document at `/`), `shell.js`
(who is signed in, and which view is shown), then one file a view. The documents `inspect.html`, `narrow.html` and `try.html`
are about one token, and their modules are in `token`: `pasted`, `chain`, `effects` and `sentence` know what it says, the others
show it. `client` is a link to the modules of the JavaScript client.
"""
