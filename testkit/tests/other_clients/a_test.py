import subprocess
import unittest

from kazoo.client import KazooClient


class Orders(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        command = ["homing-testkit", "serve", "--listen", "127.0.0.1:0"]
        cls.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        # "serving ZooKeeper on 127.0.0.1:46187, connect string 127.0.0.1:46187"
        cls.servers = cls.server.stdout.readline().split()[-1]

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        cls.server.wait()
        cls.server.stdout.close()

    def test_an_order_is_taken(self):
        client = KazooClient(hosts=self.servers)
        client.start()
        client.create("/orders/n-", b"tea", sequence=True, makepath=True)
        self.assertEqual(client.get_children("/orders"), ["n-0000000000"])
        client.stop()
        client.close()


if __name__ == "__main__":
    unittest.main()
