from django.test import TestCase

from projects.models import Project


class Fresh(TestCase):
    def test_a_project_isnt_finished(self):
        self.assertFalse(Project.objects.create(name="shop").finished)


class Finished(TestCase):
    def test_a_project_is_finished_and_kept(self):
        Project.objects.create(name="shop").finish()
        self.assertTrue(Project.objects.get().finished)
