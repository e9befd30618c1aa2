package vcproxy_test

import (
	"slices"
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/openpf9/openpf9/gateway/vcproxy"
)

// BenchmarkCall compares calls through the broker with calls to vcsim. It
// reports the median and the 99th percentile.
func BenchmarkCall(b *testing.B) {
	s := newStand(b, func(_ *stand, o *vcproxy.Options) { o.Limits.Reads = 1e6 })
	paths := map[string]*vim25.Client{"direct": s.admin(b), "broker": s.client(b)}
	for _, path := range []string{"direct", "broker"} {
		vc := paths[path]
		b.Run("small/"+path, func(b *testing.B) {
			percentiles(b, func() error {
				_, err := methods.GetCurrentTime(b.Context(), vc)
				return err
			})
		})
		b.Run("machines/"+path, func(b *testing.B) {
			req := machines(vc)
			percentiles(b, func() error {
				_, err := methods.RetrieveProperties(b.Context(), vc, req)
				return err
			})
		})
	}
}

// machines asks for the hardware of all machines.
func machines(vc *vim25.Client) *types.RetrieveProperties {
	down := []types.BaseSelectionSpec{&types.SelectionSpec{Name: "folders"}}
	return &types.RetrieveProperties{This: vc.ServiceContent.PropertyCollector, SpecSet: []types.PropertyFilterSpec{{
		PropSet: []types.PropertySpec{{Type: "VirtualMachine", PathSet: []string{"name", "config.hardware", "runtime", "summary"}}},
		ObjectSet: []types.ObjectSpec{{Obj: vc.ServiceContent.RootFolder, SelectSet: []types.BaseSelectionSpec{
			&types.TraversalSpec{SelectionSpec: types.SelectionSpec{Name: "folders"}, Type: "Folder", Path: "childEntity", SelectSet: []types.BaseSelectionSpec{
				&types.TraversalSpec{Type: "Datacenter", Path: "vmFolder", SelectSet: down},
			}},
		}}},
	}}}
}

func percentiles(b *testing.B, f func() error) {
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1000, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100])/1000, "p99-µs")
}
