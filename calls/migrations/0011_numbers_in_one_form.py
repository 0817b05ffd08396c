"""
Brings the numbers of an earlier version into the form in which they are read now.

`+44 (0)20 7946 0018` was kept as `+4402079460018` on the do-not-call list, where it stopped no call. Run
`manage.py renumber --dry-run` before, to see what changes.
"""

import logging

from django.db import migrations

from calls.services.renumbering import renumber

logger = logging.getLogger(__name__)


def bring_into_one_form(apps, schema_editor):
    report = renumber(get_model=apps.get_model, using=schema_editor.connection.alias)
    if report.changed:
        logger.info(
            "Changed the form of %d numbers; %d entries of the do-not-call list became one with another",
            report.changed.total(),
            report.merged,
        )
    if report.taken or any(name != "Call" for name in (key.split(".")[0] for key in report.unreadable)):
        logger.warning("Some numbers cannot be read or are taken; `manage.py renumber --dry-run` lists them")


class Migration(migrations.Migration):
    atomic = False  # in small transactions of its own, so that calls go on meanwhile

    dependencies = [
        ("calls", "0010_webhook_old_secret"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(bring_into_one_form, migrations.RunPython.noop, elidable=True)]
