using System.Text;
using Doppel.Vmm.Seeds;

namespace Doppel.Vmm.Tests.Seeds;

public sealed class NoCloudSeedTests : IDisposable
{
    private const string Key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPx anna's key";
    private readonly string _directory = Directory.CreateTempSubdirectory("doppel-seed-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Settings_are_told_to_cloud_init_and_to_the_images_own_service()
    {
        var instance = new Guid("0f5d3a1e-0000-4000-8000-000000000001");
        var settings = new GuestSettings { HostName = "web", User = "anna", Keys = [Key], UserData = "#cloud-config\n{}\n"u8.ToArray() };
        Dictionary<string, string> files = NoCloudSeed.Files(settings, instance).ToDictionary(f => f.Name, f => Encoding.UTF8.GetString(f.Content));
        Assert.Equal($"hostname web\nuser anna\nkey {Key}\n", files["doppel"]);
        Assert.Equal($"instance-id: {instance}\nlocal-hostname: web\npublic-keys:\n  - 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPx anna''s key'\n", files["meta-data"]);
        Assert.Equal("#cloud-config\n{}\n", files["user-data"]);
        Assert.Equal("doppel.seed", NoCloudSeed.CommandLine(settings));
        Assert.Equal("doppel.seed cloud-init=disabled", NoCloudSeed.CommandLine(settings with { UserData = null }));
    }

    [Fact]
    public void A_seed_replaces_an_older_one_and_is_its_users_alone()
    {
        string path = Path.Combine(_directory, "seed.iso");
        File.WriteAllText(path, "old");
        NoCloudSeed.Write(path, new GuestSettings { HostName = "web" }, Guid.NewGuid());
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        Assert.Equal([path], Directory.EnumerateFiles(_directory));
        Assert.Equal(0, new FileInfo(path).Length % 2048);
    }

    [Theory]
    [InlineData("web", "web")]
    [InlineData("my_machine.1", "my-machine-1")]
    [InlineData("_", "machine")]
    public void A_host_name_is_made_of_a_machines(string machine, string expected) => Assert.Equal(expected, GuestSettings.HostNameOf(machine));

    [Theory]
    [InlineData("-web", null, "hostname")]
    [InlineData("a b", null, "hostname")]
    [InlineData("web", "Anna", "user")]
    [InlineData("web", "a;b", "user")]
    public void Names_that_cannot_be_are_refused(string host, string? user, string field) =>
        Assert.Equal(field, Assert.Throws<SpecException>(() => new GuestSettings { HostName = host, User = user }.Validate()).Field);

    [Fact]
    public void Only_public_keys_are_taken()
    {
        string path = Path.Combine(_directory, "key");
        File.WriteAllText(path, $"# mine\n\n{Key}\n");
        Assert.Equal([Key], GuestSettings.ReadKeys(path));
        File.WriteAllText(path, "-----BEGIN OPENSSH PRIVATE KEY-----\n");
        Assert.Contains($"{path}.pub would be right", Assert.Throws<SpecException>(() => GuestSettings.ReadKeys(path)).Message, StringComparison.Ordinal);
        File.WriteAllText(path, "nonsense\n");
        Assert.Throws<SpecException>(() => GuestSettings.ReadKeys(path));
        Assert.Throws<SpecException>(() => GuestSettings.ReadKeys(path + ".none"));
    }

    [Theory]
    [InlineData("#cloud-config\n", true)]
    [InlineData("#!/bin/sh\n", true)]
    [InlineData("Content-Type: multipart/mixed\n", true)]
    [InlineData("packages: [git]\n", false)]
    public void User_data_must_say_what_it_is(string text, bool isTaken)
    {
        string path = Path.Combine(_directory, "user-data");
        File.WriteAllText(path, text);
        if (isTaken)
            Assert.Equal(text, Encoding.UTF8.GetString(GuestSettings.ReadUserData(path)));
        else
            Assert.Contains("#cloud-config", Assert.Throws<SpecException>(() => GuestSettings.ReadUserData(path)).Message, StringComparison.Ordinal);
    }
}
