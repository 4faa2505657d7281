package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cert-manager/cert-manager/pkg/controller"

	// Each makes itself known to the controller package. Of issuers there are those that the platform has: authorities
	// that sign themselves, and authorities of a secret.
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
)

// workers of each controller; cert-manager's own default.
const workers = 5

// health is where the chart's probe asks.
const health = ":9403"

func controllers(ctx context.Context, arguments []string) error {
	set := flags("controller")
	namespace := set.String("cluster-resource-namespace", "cert-manager", "where the secrets of ClusterIssuers are")
	owned := set.Bool("enable-certificate-owner-ref", false, "whether a certificate's secret goes with it")
	if err := set.Parse(arguments); err != nil {
		return err
	}
	factory, err := controller.NewContextFactory(ctx, defaults(*namespace, *owned))
	if err != nil {
		return fmt.Errorf("clients: %w", err)
	}
	shared, err := factory.Build()
	if err != nil {
		return fmt.Errorf("informers: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for name, construct := range controller.Known() {
		made, err := construct(factory)
		if err != nil {
			return fmt.Errorf("controller %s: %w", name, err)
		}
		group.Go(func() error { return made.Run(workers, ctx) })
	}
	// the controllers have said by now what they want to be told
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	server := &http.Server{Addr: health, Handler: livez(), ReadHeaderTimeout: 10 * time.Second}
	group.Go(server.ListenAndServe)
	<-ctx.Done()
	return errors.Join(server.Close(), ended(group.Wait()))
}

// defaults are those of cert-manager's command, as far as these controllers read them.
func defaults(namespace string, owned bool) controller.ContextOptions {
	return controller.ContextOptions{
		KubernetesAPIQPS:   20,
		KubernetesAPIBurst: 50,
		IssuerOptions:      controller.IssuerOptions{ClusterResourceNamespace: namespace},
		CertificateOptions: controller.CertificateOptions{
			EnableOwnerRef: owned,
			CopiedAnnotationPrefixes: []string{
				"*", "-kubectl.kubernetes.io/", "-fluxcd.io/", "-argocd.argoproj.io/",
			},
			CertificateRequestMinimumBackoffDuration: time.Hour,
			CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
		},
	}
}

func livez() http.Handler {
	answers := http.NewServeMux()
	answers.HandleFunc("/livez", func(http.ResponseWriter, *http.Request) {})
	return answers
}

// ended is no error when it is the end that was asked for.
func ended(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
