using System.Diagnostics;
using System.Globalization;
using Doppel.Nested;
using Doppel.Vmm.Images;

// Runs inside the nested host, or anywhere else: doppel-nested RESULTS [PART OF A NAME...], or doppel-nested RESULTS --kernels DIRECTORY ENGINE [SECONDS FOR EACH]
string results = args[0];
if (args.Length >= 4 && args[1] == "--kernels")
{
    await foreach (string row in new ConformanceKernels(args[2], args[3], TimeSpan.FromSeconds(args.Length > 4 ? int.Parse(args[4], CultureInfo.InvariantCulture) : 60)).RunAsync())
        await ReportAsync(row);
    return 0;
}

string directory = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache/doppel/images");
GuestImage image = new ImageStore(directory).Find(BusyboxImageBuilder.ImageName) ?? throw new NestedException($"there is no image {BusyboxImageBuilder.ImageName} in {directory}");
int failures = 0;
foreach ((string name, Func<Task<string>> run) in new Scenarios(image).All)
{
    if (args.Length > 1 && !args[1..].Any(part => name.Contains(part, StringComparison.Ordinal)))
        continue;
    long begin = Stopwatch.GetTimestamp();
    string outcome;
    try
    {
        outcome = "passed | " + await run();
    }
    catch (Exception e)
    {
        failures++;
        outcome = "FAILED | " + e.Message.ReplaceLineEndings(" ");
        Console.Error.WriteLine(e);
    }

    await ReportAsync(string.Create(CultureInfo.InvariantCulture, $"| {name} | {Stopwatch.GetElapsedTime(begin).TotalSeconds:0} s | {outcome} |"));
}

return failures == 0 ? 0 : 1;

async Task ReportAsync(string line)
{
    Console.WriteLine(line);
    await File.AppendAllTextAsync(results, line + "\n");
}
