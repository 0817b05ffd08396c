from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("calls", "0002_outbound")]
    operations = [migrations.RenameField("turn", "who", "speaker")]
