using Doppel.Devices.Storage.Images;
using Doppel.Devices.Storage.Qcow2;

namespace Doppel.Devices.Tests.Storage;

/// <summary>Checks of an image by QEMU and by Doppel.</summary>
internal static class Qcow2Check
{
    /// <summary>Neither finds an error or a leak.</summary>
    internal static void IsClean(string path, int seed)
    {
        (int code, string said) = QemuImg.Try("qemu-img", "check", "-f", "qcow2", path);
        Assert.True(code == 0, $"seed {seed}: {said}");
        Qcow2CheckResult result = Run(path);
        Assert.True(result.ErrorCount == 0 && result.Leaks == 0, $"seed {seed}: {result.Leaks} leaks, {string.Join("; ", result.Errors)}");
    }

    internal static Qcow2CheckResult Run(string path)
    {
        using ImageFile file = ImageFile.Open(path, isReadOnly: true);
        return new Qcow2Checker(file, Qcow2Header.Read(file)).Run();
    }
}
