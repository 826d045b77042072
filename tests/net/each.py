# SPDX-License-Identifier: BSD-2-Clause
"""One fear, several ways to meet it: a test that goes through all of them, and says at which it stood still."""
import functools
import inspect


def each(names, values):
    """As pytest.mark.parametrize, but one test: names "a, b", values of tuples; or one name and its values."""
    names = [n.strip() for n in names.split(",")]

    def wrap(test):
        @functools.wraps(test)
        def all_of_them(**fixtures):
            for value in values:
                given = dict(zip(names, value if len(names) > 1 else [value]))
                try:
                    test(**fixtures, **given)
                except Exception as e:
                    e.add_note(f"with {given}")
                    raise

        of_pytest = [p for n, p in inspect.signature(test).parameters.items() if n not in names]
        all_of_them.__signature__ = inspect.Signature(of_pytest)
        return all_of_them

    return wrap
